//! Tests of the ledger as a whole, on real files.
