//! Receivers on the page of alerts: who is told and how it went, the form to add one, and the one page that shows a secret. Pure.

use askama::Template;

use super::model::{AddReceiver, Delivery, Receiver, ReceiverList, ReceiverSecret, Tested, WatchdogView};
use crate::admin::shell::{Shell, Wrong, sentence};
use crate::base::clock::Timestamp;
use crate::base::fault::Fault;
use crate::web::Fields;
use crate::web::human;
use crate::web::view::{Badge, Code, Tone};

/// A new secret by hand leaves the one before a day; what is meant to end later ends otherwise.
const LONGEST_SAID_MS: i64 = 2 * 24 * 3_600_000;

/// What the page shows of receivers.
#[derive(Clone, Debug, Default)]
pub struct ReceiversView {
    /// As they are configured.
    pub rows: Vec<ReceiverRow>,
    /// The watchdog, in one sentence; empty when it is not configured.
    pub watchdog: String,
    /// Whether it is not answered.
    pub silent: bool,
    /// The form, with what was typed.
    pub form: AddForm,
}

/// One receiver.
#[derive(Clone, Debug)]
pub struct ReceiverRow {
    /// What it is called.
    pub name: String,
    /// Whether it hears.
    pub badge: Badge,
    /// Where it is.
    pub url: String,
    /// Which rules, and when its secret was made.
    pub note: String,
    /// How the last notice went, or why none goes.
    pub last: String,
    /// The newest notices.
    pub deliveries: Vec<DeliveryRow>,
}

/// One notice.
#[derive(Clone, Debug)]
pub struct DeliveryRow {
    /// When.
    pub when: String,
    /// `alert.open` and so on.
    pub kind: String,
    /// Its state, with what is behind it.
    pub how: String,
}

impl ReceiverRow {
    fn of(receiver: &Receiver, now: Timestamp) -> Self {
        let badge = match receiver.state.as_str() {
            "ready" if receiver.last.is_some() => Badge::new(Tone::Ok, "delivered"),
            "ready" => Badge::new(Tone::Plain, "not tried yet"),
            "no_secret" => Badge::new(Tone::Warn, "no secret"),
            other => Badge::new(Tone::Warn, other),
        };
        let every = receiver.rules.iter().any(|rule| rule == "*");
        let mut note = if every { "every alert".to_owned() } else { format!("alerts of {}", receiver.rules.join(", ")) };
        if let Some(until) = receiver.old_until {
            note.push_str(&match until.since_ms(now) {
                // A rotation ends it itself, and the row only says when it ends without one.
                left if left > LONGEST_SAID_MS => "; the secret before signs too, until its rotation ends it".to_owned(),
                _ => format!("; the secret before signs too and ends {}", human::until(until, now)),
            });
        }
        let waiting = match receiver.waiting {
            0 => String::new(),
            count => format!(" {} waiting.", human::plural(count, "notice")),
        };
        let ended = receiver.deliveries.iter().find(|one| one.ended_at.is_some());
        let last = match (&receiver.why, ended) {
            (Some(why), _) => sentence(why),
            (None, Some(last)) => sentence(&told(last, now)),
            (None, None) => "Nothing was sent yet".to_owned(),
        };
        Self {
            name: receiver.name.clone(),
            badge,
            url: receiver.url.clone(),
            note,
            last: format!("{}.{waiting}", last.trim_end_matches('.')),
            deliveries: receiver.deliveries.iter().map(|one| DeliveryRow::of(one, now)).collect(),
        }
    }
}

fn told(one: &Delivery, now: Timestamp) -> String {
    let when = human::when(one.ended_at.unwrap_or(one.made_at), now);
    match one.ms {
        Some(ms) => format!("{} {when}, {} ms", one.state.replace('_', " "), ms),
        None => format!("{} {when}", one.state.replace('_', " ")),
    }
}

impl DeliveryRow {
    fn of(one: &Delivery, now: Timestamp) -> Self {
        let mut how = told(one, now);
        if one.attempts > 1 {
            how.push_str(&format!(", {} attempts", one.attempts));
        }
        if let Some(why) = &one.why {
            how.push_str(&format!(": {why}"));
        }
        if let Some(at) = one.next_at {
            how.push_str(&format!("; tried {}", human::until(at, now).replace("over", "now")));
        }
        Self { when: human::when(one.made_at, now), kind: one.kind.clone(), how }
    }
}

/// The form to add a receiver, as it was typed.
#[derive(Clone, Debug, Default)]
pub struct AddForm {
    /// Field.
    pub name: String,
    /// Field.
    pub url: String,
    /// Field.
    pub rules: String,
    /// Field.
    pub addresses: String,
    /// Field.
    pub ca: String,
    /// Field.
    pub plain: bool,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl AddForm {
    /// What was typed.
    pub fn typed(fields: &Fields) -> Self {
        let get = |name: &str| fields.get(name).to_owned();
        Self {
            name: get("name"),
            url: get("url"),
            rules: get("rules"),
            addresses: get("addresses"),
            ca: get("ca"),
            plain: fields.has("plain"),
            ..Self::default()
        }
    }

    /// The form as an order.
    pub fn order(&self) -> AddReceiver {
        let words = |text: &str| text.split([' ', ',', '\n', '\r']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
        AddReceiver {
            name: self.name.clone(),
            url: self.url.clone(),
            rules: words(&self.rules),
            plain_loopback: self.plain,
            allow_addresses: words(&self.addresses),
            ca: Some(self.ca.clone()).filter(|path| !path.is_empty()),
        }
    }

    /// With what is wrong, at its field when the form has it.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(
            fault,
            &[("name", "name"), ("url", "url"), ("rules", "rules"), ("ca", "ca"), ("allow_addresses", "addresses")],
        );
        self
    }
}

/// What the page shows.
pub fn view(list: &ReceiverList, form: AddForm, now: Timestamp) -> ReceiversView {
    let watchdog = list.watchdog.as_ref().map(|watchdog| guarded(watchdog, now)).unwrap_or_default();
    ReceiversView {
        rows: list.receivers.iter().map(|receiver| ReceiverRow::of(receiver, now)).collect(),
        silent: list.watchdog.as_ref().is_some_and(|watchdog| watchdog.failures > 0),
        watchdog,
        form,
    }
}

fn guarded(watchdog: &WatchdogView, now: Timestamp) -> String {
    let told = format!("{} is told every {} s that alerts are looked for", watchdog.url, watchdog.every_seconds);
    match (watchdog.failures, watchdog.last_ok) {
        (0, None) => format!("{told}. It was not asked yet."),
        (0, Some(at)) => format!("{told}. It answered {}.", human::when(at, now)),
        (failures, _) => {
            let why = watchdog.why.as_deref().unwrap_or("no answer");
            format!("{told}. It failed {} in a row: {why}.", human::plural(u64::from(failures), "time"))
        }
    }
}

/// How a test went, in one sentence.
pub fn outcome(tested: &Tested) -> String {
    if let Some(why) = &tested.why {
        return sentence(why);
    }
    let one = |one: &super::TestedReceiver| match &one.why {
        None => format!("{} took it in {} ms", one.name, one.ms),
        Some(why) => format!("{} did not take it: {why}", one.name),
    };
    format!("A test was sent: {}.", tested.receivers.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// The answer to an addition or a new secret.
#[derive(Template)]
#[template(path = "alerts/secret.html")]
pub struct SecretPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: SecretView,
}

/// What it shows, once.
#[derive(Clone, Debug)]
pub struct SecretView {
    /// The receiver.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// The secret.
    pub secret: Code,
    /// What becomes of the one before; empty when there was none.
    pub before: String,
}

/// The page with the new secret.
pub fn secret(shell: Shell, made: &ReceiverSecret) -> SecretPage {
    let before = made.old_until.map(|until| format!("The secret before signs too and ends {}.", human::until(until, shell.now)));
    let page = SecretView {
        name: made.receiver.clone(),
        url: made.url.clone(),
        secret: Code::new(format!("{}, shown once", made.receiver), made.secret.clone()),
        before: before.unwrap_or_default(),
    };
    SecretPage { shell, page }
}
