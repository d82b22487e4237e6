//! Files from a server, chunk by chunk, on connections that break: asking, trying again, going on where it broke off.

mod answer;
mod patience;
mod remote;

pub use answer::small_json;
pub use remote::{Opened, Remote};
