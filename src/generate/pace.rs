//! How far the device works ahead of the host.

use web_time::Instant;

use crate::gpu::MOST_AHEAD;

/// Some browsers look only this often whether a buffer is mapped, in seconds.
const NOTICED_AFTER: f64 = 0.1;

/// When each of the latest tokens was there.
#[derive(Default)]
pub(super) struct Pace {
    latest: Vec<Instant>,
}

impl Pace {
    /// Notes a token.
    pub(super) fn token(&mut self, now: Instant) {
        self.latest.retain(|&at| (now - at).as_secs_f64() < NOTICED_AFTER);
        self.latest.push(now);
    }

    /// How many tokens the device should work ahead: as many as it made in the time in which a browser may not notice, and one
    /// more. While it waits for the browser that grows by one with each look, until it has work from one look to the next. Those
    /// that follow a stop or an answer's end are worked for nothing: a tenth of a second's worth or so, and one.
    pub(super) fn ahead(&self) -> usize {
        (self.latest.len() + 1).min(MOST_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Duration;

    use super::*;

    /// How many are ahead after so many looks of a browser at a device that takes `per_token` seconds.
    fn ahead(per_token: f64, look: f64, looks: u32) -> usize {
        let start = Instant::now();
        let mut pace = Pace::default();
        // When each token on its way is done.
        let mut done = VecDeque::from([0.0]);
        let mut busy_until = 0.0_f64;
        for now in (1..=looks).map(|count| f64::from(count) * look) {
            while done.front().is_some_and(|&done| done <= now) {
                done.pop_front();
                pace.token(start + Duration::from_secs_f64(now));
                while done.len() < pace.ahead() {
                    busy_until = busy_until.max(now) + per_token;
                    done.push_back(busy_until);
                }
            }
        }
        pace.ahead()
    }

    #[test]
    fn a_fast_device_has_work_from_one_look_to_the_next() {
        assert_eq!(ahead(0.004, 0.101, 6), 7, "one more with each look");
        assert_eq!(ahead(0.004, 0.101, 20), MOST_AHEAD);
        assert_eq!(ahead(0.004, 0.001, 1000), MOST_AHEAD);
        assert!((6..=12).contains(&ahead(0.02, 0.09, 50)));
    }

    #[test]
    fn a_slow_device_works_little_for_nothing() {
        assert_eq!(ahead(0.2, 0.1, 100), 2);
        assert_eq!(ahead(0.12, 0.001, 1000), 2);
        assert_eq!(ahead(0.04, 0.001, 1000), 4);
    }
}
