//! sysctr-compose
fn main() {}
