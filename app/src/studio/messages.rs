//! What the studio tells its user: errors and news. The latest ones float as toasts, all of them stay in the log.

use halftone_core::UserMessage;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Went well.
    Info,
    /// Went, but not as asked.
    Warning,
    /// Did not go.
    Error,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its number.
    pub id: u64,
    /// How much it matters.
    pub level: Level,
    /// What was being done.
    pub origin: &'static str,
    /// Summary, details, hint.
    pub message: UserMessage,
    /// Still floats.
    pub toast: bool,
    /// Seconds since the start of the program (egui's clock).
    pub time: f64,
}

/// All messages of this session.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    list: Vec<Message>,
}

/// How long news float, seconds. Errors float until they are put away.
const TOAST_SECS: f64 = 6.0;

impl Messages {
    /// Tells something.
    pub fn tell(&mut self, level: Level, origin: &'static str, message: UserMessage, time: f64) {
        let id = self.list.len() as u64;
        self.list.push(Message { id, level, origin, message, toast: true, time });
    }

    /// Tells one sentence of news.
    pub fn news(&mut self, origin: &'static str, summary: String, time: f64) {
        self.tell(Level::Info, origin, UserMessage { summary, details: String::new(), hint: String::new() }, time);
    }

    /// Puts a toast away; the log keeps it.
    pub fn dismiss(&mut self, id: u64) {
        if let Some(message) = self.list.iter_mut().find(|m| m.id == id) {
            message.toast = false;
        }
    }

    /// Lets old news go.
    pub fn age(&mut self, now: f64) {
        for message in &mut self.list {
            message.toast &= message.level == Level::Error || now - message.time < TOAST_SECS;
        }
    }

    /// Everything, the oldest first.
    pub fn all(&self) -> &[Message] {
        &self.list
    }

    /// What floats.
    pub fn toasts(&self) -> impl Iterator<Item = &Message> {
        self.list.iter().filter(|m| m.toast)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_fade_and_errors_stay_until_they_are_put_away() {
        let mut messages = Messages::default();
        let text = |s: &str| UserMessage { summary: s.into(), details: String::new(), hint: String::new() };
        messages.tell(Level::Info, "Open", text("opened"), 0.0);
        messages.tell(Level::Error, "Open", text("failed"), 0.0);
        messages.age(60.0);
        assert_eq!(messages.toasts().count(), 1, "the error floats");
        messages.dismiss(1);
        assert_eq!(messages.toasts().count(), 0, "put away");
        assert_eq!(messages.all().len(), 2, "the log keeps both");
    }
}
