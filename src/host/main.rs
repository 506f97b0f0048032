//! sysctr
fn main() {}
