//! When to ask again, and when to give up.

use gloo_timers::future::TimeoutFuture;
use web_sys::AbortSignal;

use crate::error::{Error, Result};
use crate::store::traffic::{Traffic, Waiting};

/// The wait after a first failure doubles with each further one, up to the longest. Seconds.
const SHORTEST: f64 = 0.25;
const LONGEST: f64 = 30.0;
/// A server that wants more patience than this is asked again by the visitor. Seconds.
const MOST_ASKED_FOR: f64 = 120.0;
/// A wait looks this often whether it is still wanted. Milliseconds.
const LOOK: u32 = 200;

/// What went wrong with one attempt.
pub(super) struct Failure {
    pub error: Error,
    /// Seconds after which the server wants to be asked again.
    pub retry_after: Option<f64>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, retry_after: None }
    }
}

impl Failure {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool {
        match self.error {
            Error::Unreachable { .. } | Error::Truncated { .. } | Error::Answer { .. } => true,
            Error::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

/// Counts failures in a row.
pub(super) struct Patience {
    failures: i32,
    limit: i32,
}

impl Patience {
    /// For a server that was not seen to work yet: a wrong address is told soon.
    pub fn with_a_stranger() -> Self {
        Self { failures: 0, limit: 3 }
    }

    /// For a download under way: a minute of refusals, or three of silence.
    pub fn with_an_acquaintance() -> Self {
        Self { failures: 0, limit: 9 }
    }

    /// Something worked: the count starts again.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits as long as is right after this failure, or gives it back when it is to be told.
    pub async fn wait(&mut self, failure: Failure, signal: &AbortSignal, traffic: &Traffic) -> Result<()> {
        self.failures += 1;
        if signal.aborted() {
            return Err(Error::Aborted);
        }
        let asked_for = failure.retry_after;
        if !failure.may_pass()
            || self.failures >= self.limit
            || asked_for.is_some_and(|seconds| seconds > MOST_ASKED_FOR)
        {
            return Err(failure.error);
        }
        // Spread out, so that the connections of one download, and of many visitors, do not all come back at once.
        let spread = 0.75 + 0.5 * js_sys::Math::random();
        let seconds = asked_for.unwrap_or_else(|| LONGEST.min(SHORTEST * 2f64.powi(self.failures - 1)) * spread);
        traffic.wait(Some(match failure.error {
            Error::Status { .. } => Waiting::Server(seconds),
            _ => Waiting::Network(seconds),
        }));
        let until = js_sys::Date::now() + seconds * 1000.0;
        loop {
            let left = until - js_sys::Date::now();
            if left <= 0.0 {
                traffic.wait(None);
                return Ok(());
            }
            TimeoutFuture::new(LOOK.min(left.ceil() as u32)).await;
            if signal.aborted() {
                return Err(Error::Aborted);
            }
        }
    }
}
