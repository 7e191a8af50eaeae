"""
Programs that a person runs on a deployment; ``commands/`` reads their command lines.

``promote``             what serves: promote, roll back, pin, shadow
``load_model``          the model that is shipped with a use case
``build_preprocessor``  a preprocessor of one's own
``load_postcodes``      the table of postcodes, of ``postcode_files``
``load_transactions``   past card transactions, of ``transaction_files``
``check_features``      streamed features against a clean computation
``forget_user``         removes users, with the report of ``forget_report``
``replay``              a room: send messages again
``doctor``              a room: what is wrong with a deployment
``cost``                a room: what a deployment costs a month
``volumes``             bytes of every statement, by the size of a deployment
``limits``              how often statements run, and which limits a size exceeds
``ready``               whether a deployment can be set up; old types of tables
"""
