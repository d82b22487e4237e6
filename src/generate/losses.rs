//! When a device that went away is replaced, and when that is of no use.

use std::time::Duration;

use web_time::Instant;

use crate::error::{Error, Result};

/// A device that does not last for this long has too much to do, or is broken.
const LEAST: Duration = Duration::from_secs(60);

/// The losses of one open model's devices.
#[derive(Debug, Default)]
pub struct Losses {
    /// When the device took another one's place.
    replaced: Option<Instant>,
}

impl Losses {
    /// A device was lost, and another one is to take its place.
    ///
    /// Errors: `LostAgain` when it took another one's place itself a moment ago. A request after that may try once more.
    pub fn lost(&mut self, detail: String, now: Instant) -> Result<()> {
        match self.replaced.take() {
            Some(replaced) if now - replaced < LEAST => Err(Error::LostAgain { detail }),
            _ => Ok(()),
        }
    }

    /// Another device took its place.
    pub fn replaced(&mut self, now: Instant) {
        self.replaced = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_loss_within_a_minute_is_told() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        let lost = |losses: &mut Losses, second| losses.lost("asleep".to_owned(), start + Duration::from_secs(second));
        assert_eq!(lost(&mut losses, 0), Ok(()));
        losses.replaced(start + Duration::from_secs(100));
        assert_eq!(lost(&mut losses, 161), Ok(()), "it has lasted for a while");
        losses.replaced(start + Duration::from_secs(170));
        assert_eq!(lost(&mut losses, 229).map_err(|error| error.code()), Err("gpu/lost-again"));
        assert_eq!(lost(&mut losses, 230), Ok(()), "asked once more");
    }
}
