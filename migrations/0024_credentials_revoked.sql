-- What was revoked while it was being rotated: 1, the rotation goes no further; 2, and what it made ends as well. Written without the lease of whoever is at
-- work on it, since a revocation waits for nobody.
ALTER TABLE rotations ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0 CHECK (revoked IN (0, 1, 2));
