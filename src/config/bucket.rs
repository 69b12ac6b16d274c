//! `[[recovery.bucket]]`: an S3-compatible bucket that archives are copied to. Never holds a credential: it names the file of one.

use std::net::IpAddr;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BucketConfig {
    /// `s3://BUCKET` or `s3://BUCKET/PREFIX`.
    pub url: String,
    /// Where it is served, `https://HOST[:PORT]`. Default that of the region at AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Its region. Default `AWS_REGION`, or `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// File with `aws_access_key_id` and `aws_secret_access_key`, as an absolute path; read before each request, so that they can be changed at
    /// any time. Default `AWS_SHARED_CREDENTIALS_FILE`, else `AWS_ACCESS_KEY_ID` with its secret, else a web identity; services of the machine's own
    /// network are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<String>,
    /// PEM file with the CA that signed the endpoint's certificate, as an absolute path. Default the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Plain HTTP, to an endpoint on this machine only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
}

impl BucketConfig {
    /// Name of the bucket and prefix below it, which may be empty.
    ///
    /// # Errors
    /// A sentence that says what an address is made of.
    pub fn split(&self) -> Result<(&str, &str), &'static str> {
        const WANTED: &str = "must be s3://BUCKET or s3://BUCKET/PREFIX";
        let rest = self.url.strip_prefix("s3://").ok_or(WANTED)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(lower) {
            return Err("a bucket's name is 3 to 63 of a-z, 0-9, '-' and '.'");
        }
        let prefix = prefix.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let part = |part: &str| !part.is_empty() && part.chars().all(plain) && part.trim_matches('.') == part;
        if prefix.len() > 512 || !(prefix.is_empty() || prefix.split('/').all(part)) {
            return Err("a prefix is made of a-z, A-Z, 0-9, '-', '_' and '.' between slashes");
        }
        Ok((bucket, prefix))
    }

    /// Each key with something wrong, and what.
    pub fn faults(&self) -> Vec<(&'static str, &'static str)> {
        let mut found = Vec::new();
        if let Err(why) = self.split() {
            found.push(("url", why));
        }
        if let Some(why) = self.endpoint.as_deref().and_then(|endpoint| wrong_endpoint(endpoint, self.plain_loopback)) {
            found.push(("endpoint", why));
        }
        if self
            .region
            .as_deref()
            .is_some_and(|region| region.is_empty() || !region.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
        {
            found.push(("region", "must be letters, digits and '-'"));
        }
        for (key, path) in [("credentials_file", &self.credentials_file), ("ca", &self.ca)] {
            if path.as_deref().is_some_and(|path| !path.starts_with('/')) {
                found.push((key, "must be an absolute path"));
            }
        }
        found
    }
}

fn wrong_endpoint(endpoint: &str, plain_loopback: bool) -> Option<&'static str> {
    let Ok(uri) = endpoint.parse::<Uri>() else { return Some("must be https://HOST[:PORT]") };
    let host = uri.host().unwrap_or_default();
    let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
    if host.is_empty() || !bare || uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Some("must be https://HOST[:PORT], without a path or a name of a user");
    }
    match uri.scheme_str() {
        Some("https") => None,
        Some("http") if plain_loopback => {
            let literal = host.trim_matches(['[', ']']).parse::<IpAddr>();
            let here = literal.is_ok_and(|ip| ip.is_loopback());
            (!here).then_some("plain HTTP goes to 127.0.0.1 or [::1] only")
        }
        _ => Some("must be https; plain HTTP to this machine needs plain_loopback = true"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bucket: BucketConfig) -> Vec<&'static str> {
        bucket.faults().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn an_address_names_a_bucket_and_a_prefix_and_nothing_else() {
        for (url, split) in [
            ("s3://backups", Ok(("backups", ""))),
            ("s3://backups/a/b-c_d.e/", Ok(("backups", "a/b-c_d.e"))),
            ("https://backups", Err(())),
            ("s3://ab", Err(())),
            ("s3://Backups", Err(())),
            ("s3://backups/../x", Err(())),
            ("s3://backups//x", Err(())),
            ("s3://backups/a b", Err(())),
            ("s3://key:secret@backups", Err(())),
        ] {
            let bucket = BucketConfig { url: url.into(), ..BucketConfig::default() };
            assert_eq!(bucket.split().map_err(|_| ()), split, "{url}");
        }
    }

    #[test]
    fn an_endpoint_is_https_or_this_machine_by_explicit_word() {
        for (endpoint, plain_loopback, fine) in [
            ("https://s3.example.com", false, true),
            ("https://s3.example.com:9000/", false, true),
            ("https://s3.example.com/path", false, false),
            ("https://me@s3.example.com", false, false),
            ("http://127.0.0.1:9000", false, false),
            ("http://127.0.0.1:9000", true, true),
            ("http://[::1]:9000", true, true),
            ("http://localhost:9000", true, false),
            ("http://10.0.0.1:9000", true, false),
            ("s3.example.com", false, false),
        ] {
            let (url, endpoint) = ("s3://backups".to_owned(), Some(endpoint.to_owned()));
            let found = keys(BucketConfig { url, endpoint: endpoint.clone(), plain_loopback, ..BucketConfig::default() });
            assert_eq!(found.is_empty(), fine, "{endpoint:?}: {found:?}");
        }
        let relative = Some("keys/s3".to_owned());
        let all = BucketConfig {
            credentials_file: relative.clone(),
            ca: relative,
            region: Some("a b".into()),
            ..BucketConfig::default()
        };
        assert_eq!(keys(all), ["url", "region", "credentials_file", "ca"]);
    }
}
