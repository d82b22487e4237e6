//! A file on a server, read in chunks at any place, over as many requests as it takes.

use std::cell::RefCell;
use std::rc::Rc;

use futures_channel::oneshot;
use js_sys::Uint8Array;
use wasm_bindgen_futures::spawn_local;

use super::answer::{Answer, ask};
use super::line::Line;
use super::patience::{Failure, Patience};
use crate::error::{Error, Result};
use crate::store::Pending;

type Attempt<T> = std::result::Result<T, Failure>;

/// A file that a server has, at the version that its first answer was of.
pub struct Remote {
    url: String,
    /// Length in bytes; none where the server does not say it.
    pub length: Option<u64>,
    /// ETag, else Last-Modified, as far as CORS lets them be seen.
    pub validator: Option<String>,
    /// Whether the server gives parts of it; otherwise it comes in one stream.
    pub ranges: bool,
    /// An answer with bytes that nobody has read yet: the first one, or the stream.
    unread: RefCell<Option<Answer>>,
    line: Line,
}

/// A file whose first answer came, and what else that said.
pub struct Opened {
    /// The file.
    pub remote: Remote,
    /// The commit that a Hugging Face hub resolved the revision to.
    pub commit: Option<String>,
    /// Media type, without its parameters.
    pub media_type: Option<String>,
}

impl Remote {
    /// Asks for a file, from `first` to before `end`: the part that is wanted next, so that no byte comes twice.
    ///
    /// `acquainted`: whether its server was seen to work, and so deserves more patience.
    pub async fn open(url: &str, (first, end): (u64, u64), acquainted: bool, line: &Line) -> Result<Opened> {
        let mut patience = if acquainted { Patience::with_an_acquaintance() } else { Patience::with_a_stranger() };
        let answer = loop {
            match first_answer(url, (first, end), line).await {
                Ok(answer) => break answer,
                Err(failure) => patience.wait(failure, &line.signal, &line.traffic).await?,
            }
        };
        Ok(Opened {
            commit: answer.commit.clone(),
            media_type: answer.media_type.clone(),
            remote: Self {
                url: url.to_owned(),
                length: answer.length,
                validator: answer.validator.clone(),
                ranges: answer.partial,
                unread: RefCell::new(Some(answer)),
                line: line.clone(),
            },
        })
    }

    /// The chunk of at most `length` bytes from `start`; shorter only where the file ends. The request starts at once.
    pub fn fetch(self: &Rc<Self>, start: u64, length: u32) -> Pending<Uint8Array> {
        let (sender, receiver) = oneshot::channel();
        let file = self.clone();
        spawn_local(async move {
            let fetched = file.fetched(start, length, &sender).await;
            drop(sender.send(fetched));
        });
        Box::pin(async { receiver.await.unwrap_or(Err(Error::Aborted)) })
    }

    async fn fetched(
        &self,
        start: u64,
        length: u32,
        wanted: &oneshot::Sender<Result<Uint8Array>>,
    ) -> Result<Uint8Array> {
        let bytes = Uint8Array::new(&self.line.spares.take(length));
        let mut part = Part { bytes, start, filled: 0, length };
        let mut patience = Patience::with_an_acquaintance();
        loop {
            let before = part.filled;
            let Err(failure) = self.fill(&mut part).await else { break };
            if part.filled > before {
                patience.renew();
            }
            // Whoever asked has gone away.
            let waited = if wanted.is_canceled() {
                Err(Error::Aborted)
            } else {
                patience.wait(failure, &self.line.signal, &self.line.traffic).await
            };
            if let Err(error) = waited {
                self.line.traffic.went(u64::from(part.filled));
                return Err(error);
            }
        }
        // A copy, because storing a view stores all of the buffer behind it.
        Ok(if part.filled < length { part.bytes.slice(0, part.filled) } else { part.bytes })
    }

    /// Goes on with a chunk where the attempt before broke off.
    async fn fill(&self, part: &mut Part) -> Attempt<()> {
        let (at, end) = (part.start + u64::from(part.filled), part.start + u64::from(part.length));
        let mut answer = match self.unread_from(at) {
            Some(answer) => answer,
            None => self.ask(at, end).await?,
        };
        while answer.at < at {
            let skip = u32::try_from(at - answer.at).unwrap_or(u32::MAX);
            if answer.piece(skip, &self.line.signal).await?.is_none() {
                break;
            }
        }
        while part.filled < part.length {
            let Some(piece) = answer.piece(part.length - part.filled, &self.line.signal).await? else { break };
            part.bytes.set(&piece, part.filled);
            part.filled += piece.byte_length();
            self.line.traffic.came(u64::from(piece.byte_length()));
        }
        let got = part.start + u64::from(part.filled);
        match self.length {
            Some(expected) if part.filled < part.length && got < expected => {
                Err(Error::Truncated { name: self.url.clone(), expected, got }.into())
            }
            _ => {
                if !answer.partial {
                    self.unread.replace(Some(answer));
                }
                Ok(())
            }
        }
    }

    /// The answer that is at hand already, if its bytes lead to `at`.
    fn unread_from(&self, at: u64) -> Option<Answer> {
        let answer = self.unread.take()?;
        let leads = if answer.partial { answer.at == at } else { answer.at <= at };
        if leads {
            return Some(answer);
        }
        // The first answer waits for the chunk that it was asked for.
        self.unread.replace(Some(answer).filter(|answer| answer.partial));
        None
    }

    /// A new answer with the bytes from `at`, of the version that the first one was of.
    async fn ask(&self, at: u64, end: u64) -> Attempt<Answer> {
        let answer = ask(&self.url, self.ranges.then_some((at, end)), &self.line).await?;
        let changed = || Error::Changed { url: self.url.clone() };
        let unusable = |detail: &str| Error::Answer { url: self.url.clone(), detail: detail.into() };
        match answer.status {
            206 if answer.at != at => return Err(unusable("it is another part than was asked for").into()),
            206 if answer.length.is_none() && answer.body != Some(end - at) => {
                return Err(unusable("it does not say which part of the file it is").into());
            }
            206 => {}
            // Reading gigabytes that are here already is no way to go on.
            200 if self.ranges && at > 0 => return Err(unusable("it is the whole file instead of a part").into()),
            200 => {}
            416 => return Err(changed().into()),
            _ => return Err(answer.refusal()),
        }
        let differ = |ours: bool, theirs: bool, same: bool| ours && theirs && !same;
        if differ(self.length.is_some(), answer.length.is_some(), self.length == answer.length)
            || differ(self.validator.is_some(), answer.validator.is_some(), self.validator == answer.validator)
        {
            return Err(changed().into());
        }
        Ok(answer)
    }
}

/// A chunk that is being filled.
struct Part {
    bytes: Uint8Array,
    start: u64,
    filled: u32,
    length: u32,
}

/// The first answer: a part with the whole length, or the whole file.
async fn first_answer(url: &str, (first, end): (u64, u64), line: &Line) -> Attempt<Answer> {
    let answer = ask(url, Some((first, end)), line).await?;
    match answer.status {
        206 if answer.length.is_some() && answer.at == first => Ok(answer),
        // Which part it is, or of how much, is hidden, or wrong; the file is now shorter than what was asked for, or empty.
        206 | 416 => {
            let whole = ask(url, None, line).await?;
            if whole.status == 200 { Ok(whole) } else { Err(whole.refusal()) }
        }
        200 => Ok(answer),
        _ => Err(answer.refusal()),
    }
}
