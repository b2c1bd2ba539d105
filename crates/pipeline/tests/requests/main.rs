//! From what is asked to requests: layers of settings (`asked`), and models by name (`library`).

mod asked;
mod library;
