DROP TABLE db_generation;
