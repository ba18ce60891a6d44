DROP INDEX aliases_creator;
