//! Python pickles read as data.
//!
//! A pickle is a program for a small stack machine, and two of its instructions import and call anything at all. The
//! machine here has the instructions that files of weights use and no others. It imports nothing and calls nothing: a
//! class or function is its name ([`Node::Global`]), a call is a record of what would have been called with what
//! ([`Node::Call`]). The reader of torch files then looks for the few records that mean a tensor. Everything else (the
//! callbacks that training frameworks leave in their checkpoints) stays inert.
//!
//! Names that no file of weights has a reason to hold, such as `os.system`, are an error even so: whoever wrote them
//! meant harm to other programs, and the user should hear of it.
//!
//! Values live in one list and refer to each other by index, so that no depth of nesting and no cycle can exhaust the
//! stack, on reading or on dropping.

mod error;

pub use error::PickleError;
