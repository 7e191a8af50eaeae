-- Part of the view ga_events, behind its conditions: events whose user had allowed
-- ads storage. What says nothing, as without consent mode, is no consent.
AND privacy_info.ads_storage = 'Yes'
