//! The store contract, clause by clause.
