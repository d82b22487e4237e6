//! Files from a server, chunk by chunk, on connections that break: asking, trying again, going on where it broke off.

mod answer;
mod body;
mod line;
mod patience;
mod remote;

pub use answer::small_json;
pub use body::Spares;
pub use line::{Line, Token};
pub use remote::{Opened, Remote};
