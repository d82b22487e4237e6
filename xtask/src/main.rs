//! The project's own commands: `serve`, `build`, `test`.
fn main() {}
