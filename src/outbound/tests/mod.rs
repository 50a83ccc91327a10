//! What the tests of all who send share.

pub(crate) mod receiver;
