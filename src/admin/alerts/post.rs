//! One request of Lifeboat's own to somewhere else: signed notices to receivers, the watchdog's GET, what issuers of tokens are asked. A name is resolved once and only addresses
//! that were checked are connected to. Never follows a redirect, never asks a proxy, never unpacks, and never reads more than 64 KiB of an answer.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, Response};

use crate::base::secret::Secret;
use crate::config::alerts::Target;
pub(super) use crate::web::outbound::{Lookup, system_lookup, tls};
use crate::web::outbound::{PATIENCE, client, late, why};

const MOST_READ: usize = 64 * 1024;

/// What is sent.
pub(in crate::admin) struct Letter<'a> {
    /// `msg_…`, the same at every attempt.
    pub id: &'a str,
    /// JSON.
    pub body: &'a str,
}

/// When it was signed, and how.
pub(in crate::admin) struct Signed {
    /// Seconds since 1970.
    pub seconds: i64,
    /// One signature or two, `v1,…`.
    pub signatures: String,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Answered {
    /// The status that came, if one did.
    pub status: Option<u16>,
    /// Why it failed; empty when it did not.
    pub why: String,
    /// What the answer says of trying again.
    pub retry_after: Option<String>,
    /// How long it took.
    pub ms: i64,
}

impl Answered {
    /// It was not even tried.
    pub(in crate::admin) fn failed(why: String) -> Self {
        Self { status: None, why, retry_after: None, ms: 0 }
    }

    /// A status from 200 to 299, and nothing else.
    pub(in crate::admin) fn is_ok(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

/// Posts a signed letter, with the headers of Standard Webhooks.
pub(in crate::admin) async fn send(target: &Target, lookup: &Lookup, letter: &Letter<'_>, signed: &Signed) -> Answered {
    ask(target, lookup, |client| {
        client
            .post(target.url().clone())
            .header("content-type", "application/json")
            .header("webhook-id", letter.id)
            .header("webhook-timestamp", signed.seconds.to_string())
            .header("webhook-signature", &signed.signatures)
            .body(letter.body.to_owned())
    })
    .await
}

/// Asks with GET.
pub(in crate::admin) async fn knock(target: &Target, lookup: &Lookup) -> Answered {
    ask(target, lookup, |client| client.get(target.url().clone())).await
}

/// A request of any other kind.
pub(in crate::admin) struct Question<'a> {
    /// The method.
    pub method: &'a str,
    /// Headers, which may hold secrets.
    pub headers: Vec<(String, Secret<String>)>,
    /// JSON.
    pub body: Option<String>,
}

/// Asks, and reads the whole answer when it is not larger than 64 KiB.
///
/// # Errors
/// Why there is no answer, without the URL and without a header.
pub(in crate::admin) async fn question(
    target: &Target,
    lookup: &Lookup,
    question: Question<'_>,
) -> Result<(u16, Secret<Vec<u8>>), String> {
    let exchanged = async {
        let client = client(target, lookup).await.map_err(|fault| fault.to_string())?;
        let method = reqwest::Method::from_bytes(question.method.as_bytes()).map_err(|_| "it is no method".to_owned())?;
        let mut request = client.request(method, target.url().clone()).header("accept", "application/json");
        for (name, value) in &question.headers {
            request = request.header(name, value.reveal());
        }
        if let Some(body) = question.body {
            request = request.header("content-type", "application/json").body(body);
        }
        let mut response = request.send().await.map_err(|error| why(&error))?;
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(|error| why(&error))? {
            if body.len() + chunk.len() > MOST_READ {
                return Err(format!("its answer is larger than {MOST_READ} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, Secret::new(body)))
    };
    tokio::time::timeout(PATIENCE, exchanged).await.unwrap_or_else(|_| Err(late()))
}

async fn ask(target: &Target, lookup: &Lookup, make: impl FnOnce(&Client) -> RequestBuilder) -> Answered {
    let began = Instant::now();
    let exchanged = async {
        let client = client(target, lookup).await.map_err(|fault| fault.to_string())?;
        make(&client).send().await.map_err(|error| why(&error))
    };
    let answer = match tokio::time::timeout(PATIENCE, exchanged).await {
        Ok(Ok(response)) => Ok(read(response, PATIENCE.saturating_sub(began.elapsed())).await),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(late()),
    };
    let ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    match answer {
        Ok((status, retry_after)) => {
            let why = match status {
                200..300 => String::new(),
                300..400 => format!("it answered {status}; redirects are not followed"),
                _ => format!("it answered {status}"),
            };
            Answered { status: Some(status), why, retry_after, ms }
        }
        Err(why) => Answered { ms, ..Answered::failed(why) },
    }
}

/// The status is the answer; of the rest a little is read, so that an ordinary receiver can end what it says.
async fn read(mut response: Response, patience: Duration) -> (u16, Option<String>) {
    let status = response.status().as_u16();
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let rest = async {
        let mut left = MOST_READ;
        while let Ok(Some(chunk)) = response.chunk().await {
            match left.checked_sub(chunk.len()) {
                Some(less) if less > 0 => left = less,
                _ => return,
            }
        }
    };
    // Whether it ends in time does not matter: it has answered.
    let _in_time = tokio::time::timeout(patience, rest).await;
    (status, retry_after)
}

#[cfg(test)]
#[path = "tests_post.rs"]
mod tests_post;
