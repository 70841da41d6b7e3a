//! What clients asked, when, and what they were told.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// What was asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Of one name, only one client asks for changes, one after the other.
    Setup {
        name: String,
        key: String,
    },
    Delete {
        name: String,
    },
    Disable {
        name: String,
    },
    Enable {
        name: String,
    },
    Decrypt {
        name: String,
        token: String,
        id: String,
    },
    RevokeToken {
        token: String,
    },
    /// Rules under which a pipeline may not decrypt what is called [`GUARDED`](super::clients::GUARDED), or may.
    Close,
    Open,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Done,
    Plaintext {
        key: String,
    },
    /// Refused for good: nothing of it may be there.
    Refused(String),
    /// There is no such credential, or nothing of it is served.
    Absent,
    /// It may have been done or not.
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Call {
    pub asked: Asked,
    pub answer: Answer,
    /// In microseconds since the beginning.
    pub invoked: u64,
    pub answered: u64,
}

pub struct History {
    begun: Instant,
    calls: Mutex<Vec<Call>>,
}

/// A call under way. One that is not ended is unknown.
pub struct Open<'a> {
    history: &'a History,
    at: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { begun: Instant::now(), calls: Mutex::default() }
    }
}

impl History {
    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap()
    }

    pub fn begin(&self, asked: Asked) -> Open<'_> {
        let mut calls = self.calls.lock().unwrap();
        calls.push(Call { asked, answer: Answer::Unknown, invoked: self.now(), answered: u64::MAX });
        Open { history: self, at: calls.len() - 1 }
    }

    /// How many were answered.
    pub fn plaintexts(&self) -> usize {
        let is_plaintext = |call: &&Call| matches!(call.answer, Answer::Plaintext { .. });
        self.calls.lock().unwrap().iter().filter(is_plaintext).count()
    }

    /// In the order in which they were made.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }
}

impl Open<'_> {
    pub fn end(self, answer: Answer) {
        let now = self.history.now();
        let mut calls = self.history.calls.lock().unwrap();
        let call = &mut calls[self.at];
        (call.answer, call.answered) = (answer, now);
    }
}

/// How often what was asked, and how it ended.
pub fn summary(calls: &[Call]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let word = |text: String| text.split([' ', '(']).next().unwrap_or_default().to_owned();
    for call in calls {
        let answer = match &call.answer {
            Answer::Refused(why) => format!("refused {why}"),
            other => word(format!("{other:?}")).to_lowercase(),
        };
        *counts.entry(format!("{} {answer}", word(format!("{:?}", call.asked)).to_lowercase())).or_default() += 1;
    }
    counts.into_iter().map(|(what, count)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
