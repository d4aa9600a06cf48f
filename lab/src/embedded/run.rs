//! stub
/// stub
pub struct RunError;
/// stub
pub struct Running;
