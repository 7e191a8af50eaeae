"""
Programs that a person runs on a deployment; ``commands/`` reads their command lines.

``promote``             changes the champion: promote, roll back, pin
``load_model``          loads the model that is shipped with a use case
``build_preprocessor``  checks and uploads a preprocessor of your own
``load_postcodes``      loads the table of postcodes
``load_transactions``   loads past card transactions
``forget``              removes users, and takes them off the list of suppressed ones
``stopping``            stops audiences, and lets them go on
``user_rows``           finds which rows of a file are about users
``experiment``          writes an audience's history for a trial of whom to contact
``dead_letters``        counts dead letters, and sends them again
``write_dashboard``     writes the pages about a deployment anywhere
``doctor``              finds the faults of a deployment
``usecases``            checks a use case
"""
