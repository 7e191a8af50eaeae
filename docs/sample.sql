-- Each day of the last 120 that the sample lacks: 1% of its blocks.
FOR day IN (
  SELECT table_name AS name FROM `my-project.analytics_123456789.INFORMATION_SCHEMA.TABLES`
  WHERE table_name BETWEEN FORMAT_DATE('events_%Y%m%d', CURRENT_DATE() - 120)
    AND FORMAT_DATE('events_%Y%m%d', CURRENT_DATE() - 3)
    AND table_name NOT IN (
      SELECT table_name FROM `my-test-project.analytics_sample.INFORMATION_SCHEMA.TABLES`)
) DO
  EXECUTE IMMEDIATE FORMAT('''
CREATE TABLE `my-test-project.analytics_sample.%s` AS
SELECT * FROM `my-project.analytics_123456789.%s` TABLESAMPLE SYSTEM (1 PERCENT)
''', day.name, day.name);
END FOR;
