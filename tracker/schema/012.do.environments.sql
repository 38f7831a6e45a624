-- Which environment of its site (prod, stage, ...) writes a domain: the first that named itself, until an operator says
-- otherwise. Clients that name another one are refused, so that a copy of a site does not write into the original.
ALTER TABLE domains ADD COLUMN environment text COLLATE "C";
