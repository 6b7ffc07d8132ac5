-- STAND-IN: tables of the runbook's stand-in for Airavata's server, and of nothing else. Real servers have their own schema.
CREATE TABLE stand_in_gateway (id VARCHAR(255) PRIMARY KEY, gateway_id VARCHAR(255) NOT NULL, content MEDIUMBLOB NOT NULL);
CREATE TABLE stand_in_project (
  id VARCHAR(255) PRIMARY KEY,
  gateway_id VARCHAR(255) NOT NULL,
  content MEDIUMBLOB NOT NULL,
  FOREIGN KEY (gateway_id) REFERENCES stand_in_gateway (id)
);
CREATE TABLE stand_in_credential (id VARCHAR(255) PRIMARY KEY, gateway_id VARCHAR(255) NOT NULL, content MEDIUMBLOB NOT NULL);
