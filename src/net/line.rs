//! What the requests for one model share.

use std::rc::Rc;

use web_sys::{AbortSignal, Url};

use super::body::Spares;
use crate::error::{Error, Result};
use crate::store::traffic::Traffic;

/// What the requests for one model share: how they are stopped, what they tell, and what they may show.
#[derive(Clone)]
pub struct Line {
    /// Ends every request.
    pub signal: AbortSignal,
    /// Told of what comes, and of waiting.
    pub traffic: Rc<Traffic>,
    /// Buffers that are used again.
    pub spares: Rc<Spares>,
    /// Shown to the server that it is for.
    pub token: Option<Rc<Token>>,
}

impl Line {
    /// Without a token.
    pub fn new(signal: &AbortSignal, traffic: &Rc<Traffic>) -> Self {
        Self { signal: signal.clone(), traffic: traffic.clone(), spares: Rc::default(), token: None }
    }
}

/// A secret between the visitor and one server. It has no `Debug`, and no error tells it.
pub struct Token {
    secret: String,
    origin: String,
}

impl Token {
    /// For the server of `address`, which must be one that nobody can listen to on the way.
    pub fn new(secret: &str, address: &str) -> Result<Self> {
        let refuse = |detail: &str| Error::BadRequest { detail: detail.into() };
        let secret = secret.trim();
        // What cannot stand in a header would be quoted by the browser's own error.
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refuse("the token has to be letters, digits and signs without spaces"));
        }
        let url = Url::new(address).map_err(|_| refuse("the address is no URL"))?;
        let here = matches!(url.hostname().as_str(), "localhost" | "127.0.0.1" | "[::1]");
        if url.protocol() != "https:" && !here {
            return Err(refuse("a token is only sent over https"));
        }
        Ok(Self { secret: secret.to_owned(), origin: url.origin() })
    }

    /// The value of `Authorization` in a request for `url`; none for another server than the token's.
    ///
    /// Where that server redirects to another one, the browser takes the header away (Fetch, "HTTP-redirect fetch").
    pub(super) fn authorization(&self, url: &str) -> Option<String> {
        let ours = Url::new(url).is_ok_and(|url| url.origin() == self.origin);
        ours.then(|| format!("Bearer {}", self.secret))
    }
}
