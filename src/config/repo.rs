//! The git repository of `config/`.
