"""
Programs that a person runs on a deployment; ``commands/`` reads their command lines.

``promote``             changes the champion: promote, roll back, pin
``load_model``          loads the model that is shipped with a use case
``build_preprocessor``  checks and uploads a preprocessor of your own
``load_postcodes``      loads the table of postcodes
``load_transactions``   loads past card transactions, read by ``transactions``
``table_files``         reads the files of either: Parquet, or CSV in one form
``forget_user``         removes users, with the report of ``forget_report``
``forget_indexes``      removes them from prediction indexes
``allow_again``         takes users off the list of suppressed ones
``audience``            a room: audiences, their control groups and deliveries
``dead_letters``        counts dead letters, and sends them again
``doctor``              a room: finds what is wrong with a deployment
``whole_files``         writes a file whole or not at all
"""
