//! What of an entry is a secret, by name and by looks. Errs on the side of secret: a value too much that is sealed costs nothing, one too
//! few stands in git for ever.

/// What is shown in place of a secret.
pub(super) const DOTS: &str = "•••";

const HARMLESS: [&str; 24] = [
    "COLUMNS",
    "DEBUG",
    "ENVIRONMENT",
    "FORCE_COLOR",
    "HOST",
    "LANG",
    "LC_ALL",
    "LINES",
    "LOGLEVEL",
    "LOG_FORMAT",
    "LOG_LEVEL",
    "MCP_TRANSPORT",
    "NODE_ENV",
    "NODE_NO_WARNINGS",
    "NO_COLOR",
    "PATH",
    "PORT",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONIOENCODING",
    "PYTHONUNBUFFERED",
    "PYTHONUTF8",
    "RUST_LOG",
    "TRANSPORT",
    "TZ",
];

/// Variables that make a program run code of somebody's choice.
const LOADERS: [&str; 9] =
    ["BASH_ENV", "LD_AUDIT", "LD_LIBRARY_PATH", "LD_PRELOAD", "NODE_OPTIONS", "PERL5OPT", "PYTHONPATH", "PYTHONSTARTUP", "RUBYOPT"];

const SECRET_WORDS: [&str; 16] = [
    "auth",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "key",
    "pass",
    "passphrase",
    "passwd",
    "password",
    "pat",
    "pwd",
    "secret",
    "signature",
    "token",
];

// Keys and tokens that say by their beginning what they are.
const PREFIXES: [&str; 27] = [
    "AIza",
    "AKIA",
    "ASIA",
    "Basic ",
    "Bearer ",
    "SG.",
    "dop_v1_",
    "eyJ",
    "figd_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "hf_",
    "lbk_",
    "lbo_",
    "npm_",
    "ntn_",
    "pypi-",
    "sk-",
    "sk_",
    "tvly-",
    "xapp-",
    "xox",
    "ya29.",
];

// What a flag of authentication may say without saying a secret.
const KINDS: [&str; 8] = ["", "none", "basic", "bearer", "oauth", "oauth2", "true", "false"];

/// Whether a variable may stand in git: its name is known and its value is short and plain.
pub(super) fn is_harmless(name: &str, value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b':' | b'/' | b'*' | b',' | b'=');
    HARMLESS.contains(&name) && value.len() <= 200 && value.bytes().all(plain) && !value.split([':', '/', ',']).any(looks_secret)
}

/// Whether a variable makes the program run other code.
pub(super) fn loads_code(name: &str) -> bool {
    LOADERS.contains(&name)
}

/// Whether a text looks like a key or token.
pub(super) fn looks_secret(text: &str) -> bool {
    is_key(text) || text.contains("-----BEGIN") || has_password(text)
}

fn is_key(text: &str) -> bool {
    is_random(text) || PREFIXES.iter().any(|prefix| text.len() >= prefix.len() + 8 && text.starts_with(prefix))
}

// scheme://name:password@host, and scheme://token@host
fn has_password(text: &str) -> bool {
    login(text).is_some_and(|login| is_key(login) || login.split_once(':').is_some_and(|(_, password)| !password.is_empty()))
}

fn login(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()?.rsplit_once('@').map(|(login, _)| login)
}

fn is_random(text: &str) -> bool {
    let letters = |text: &str, fits: fn(&u8) -> bool| text.bytes().filter(fits).count();
    let digits = letters(text, u8::is_ascii_digit);
    let hex = text.len() >= 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) && digits > 3;
    let token = text.len() >= 24
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'='))
        && digits > 2
        && letters(text, u8::is_ascii_uppercase) > 2
        && letters(text, u8::is_ascii_lowercase) > 2;
    hex || token
}

/// Whether a name is one of something secret. What only says where it lies, such as `--key-file`, is not.
pub(super) fn names_secret(name: &str) -> bool {
    let lower = name.trim_start_matches('-').to_ascii_lowercase();
    let mut parts = lower.split(['-', '_', '.', ' ']).filter(|part| !part.is_empty()).peekable();
    let place = lower
        .split(['-', '_', '.'])
        .next_back()
        .is_some_and(|last| matches!(last, "file" | "path" | "dir" | "type" | "mode" | "url" | "id"));
    !place
        && parts.any(|part| {
            SECRET_WORDS.contains(&part)
                || part.ends_with("token")
                || part.ends_with("secret")
                || part.ends_with("password")
                || part.ends_with("key") && ["api", "access", "private", "secret"].iter().any(|word| part.contains(word))
        })
}

/// The words of a command line as they may be shown, and which of them hold a secret (by place, the program is 0).
pub(super) fn command_line(words: &[String]) -> (Vec<String>, Vec<usize>) {
    let mut shown = Vec::new();
    let mut secret = Vec::new();
    for (place, word) in words.iter().enumerate() {
        let before = place.checked_sub(1).and_then(|before| words.get(before)).map_or("", String::as_str);
        match hidden(before, word) {
            Some(visible) => {
                shown.push(visible);
                secret.push(place);
            }
            None => shown.push(word.clone()),
        }
    }
    (shown, secret)
}

// The word with its secret as dots; `None` when it has none. What is still a placeholder is none yet.
fn hidden(before: &str, word: &str) -> Option<String> {
    let empty = |value: &str| value.starts_with("${") || KINDS.contains(&value.to_ascii_lowercase().as_str());
    if let Some((name, value)) = word.split_once('=')
        && (names_secret(name) && !empty(value) || looks_secret(value))
    {
        return Some(format!("{name}={DOTS}"));
    }
    if let Some((name, value)) = word.split_once(':')
        && !name.contains('/')
        && names_secret(name)
        && !empty(value.trim())
    {
        return Some(format!("{name}:{DOTS}"));
    }
    if tells(word) {
        return Some(DOTS.to_owned());
    }
    let told = before.starts_with('-') && !before.contains('=') && names_secret(before) && !word.starts_with('-') && !empty(word);
    (told || looks_secret(word)).then(|| DOTS.to_owned())
}

// Whether a secret stands by its name somewhere in a word: in JSON, in a header behind a flag.
fn tells(word: &str) -> bool {
    const AROUND: [char; 4] = ['"', '\'', '\\', ' '];
    let nested = word.contains(['{', '"']) || (word.starts_with('-') && word.contains('='));
    let names = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let secret = |(at, mark): (usize, &str)| {
        let name = word[..at].trim_end_matches(AROUND).rsplit(|c| !names(c)).next().unwrap_or_default();
        let value =
            word[at + mark.len()..].trim_start_matches(AROUND).split(['"', '\'', '\\', ',', '}', '&']).next().unwrap_or_default();
        let last = value.trim().rsplit(' ').next().unwrap_or_default();
        let plain = last.starts_with("${") || last == "null" || KINDS.contains(&value.trim().to_ascii_lowercase().as_str());
        names_secret(name) && !plain
    };
    nested && word.match_indices([':', '=']).any(secret)
}

/// A URL as it may be shown, and what in it looks like a secret.
pub(super) fn url(url: &str) -> (String, Option<String>) {
    if login(url).is_some() {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        return (format!("{scheme}://{DOTS}@{host}"), Some("its URL carries a login".to_owned()));
    }
    let (path, query) = url.split_once('?').map_or((url, ""), |(path, query)| (path, query));
    let mut why = None;
    let parts: Vec<&str> = path.split('/').map(|part| if looks_secret(part) { DOTS } else { part }).collect();
    if parts.contains(&DOTS) {
        why = Some("a part of its URL looks like a key".to_owned());
    }
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if value.is_empty() || !(names_secret(name) || looks_secret(value)) {
                return pair.to_owned();
            }
            why = Some(format!("its URL carries a secret in {name}"));
            format!("{name}={DOTS}")
        })
        .collect();
    let shown = parts.join("/");
    (if query.is_empty() { shown } else { format!("{shown}?{}", pairs.join("&")) }, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).0.join(" ")
    }

    #[test]
    fn a_secret_in_a_command_line_becomes_dots() {
        for (line, expected) in [
            (vec!["npx", "-y", "srv@1.2.3", "--api-key", "abc"], "npx -y srv@1.2.3 --api-key •••"),
            (vec!["srv", "--access-token=abc"], "srv --access-token=•••"),
            (vec!["docker", "run", "-e", "GITHUB_TOKEN", "img"], "docker run -e GITHUB_TOKEN img"),
            (vec!["docker", "run", "-e", "GITHUB_TOKEN=abc", "img"], "docker run -e GITHUB_TOKEN=••• img"),
            (vec!["srv", "postgresql://me:pw@db/x"], "srv •••"),
            (
                vec!["mcp-remote", "https://a.example/mcp", "--header", "Authorization: Bearer abc"],
                "mcp-remote https://a.example/mcp --header Authorization:•••",
            ),
            (
                vec!["mcp-remote", "https://a.example/mcp", "--header", "Authorization:${AUTH}"],
                "mcp-remote https://a.example/mcp --header Authorization:${AUTH}",
            ),
            (vec!["srv", "--header=Authorization: Bearer abc"], "srv •••"),
            (vec!["srv", "--config", r#"{"debug":true,"clientSecret":"abc"}"#], "srv --config •••"),
            (vec!["srv", "--config", r#""{\"exaToken\":\"abc\"}""#], "srv --config •••"),
            (
                vec!["srv", "--config", r#"{"auth":"none","token":"${T}","maxTokens":5}"#],
                r#"srv --config {"auth":"none","token":"${T}","maxTokens":5}"#,
            ),
            (vec!["git", "clone", "https://ghp_0123456789abcdef@a.example/x"], "git clone •••"),
            (vec!["srv", "sk-1234567890abcdef"], "srv •••"),
            (vec!["srv", "--key-file", "/etc/k.pem", "--auth", "none"], "srv --key-file /etc/k.pem --auth none"),
            (vec!["uvx", "mcp-server-sqlite", "--db-path", "/home/u/test.db"], "uvx mcp-server-sqlite --db-path /home/u/test.db"),
            (
                vec!["docker", "run", "img@sha256:0123456789abcdef0123456789abcdef0123456789abcdef"],
                "docker run img@sha256:0123456789abcdef0123456789abcdef0123456789abcdef",
            ),
            (
                vec!["npx", "@modelcontextprotocol/server-filesystem", "/home/ana/Documents"],
                "npx @modelcontextprotocol/server-filesystem /home/ana/Documents",
            ),
        ] {
            assert_eq!(shown(&line), expected);
        }
    }

    #[test]
    fn a_secret_in_a_url_becomes_dots() {
        assert_eq!(url("https://a.example/mcp?x=1").1, None);
        assert_eq!(url("https://a.example/mcp?api_key=abc&x=1").0, "https://a.example/mcp?api_key=•••&x=1");
        assert_eq!(url("https://u:p@a.example/mcp").0, "https://•••@a.example/mcp");
        assert_eq!(url("https://whoever@a.example/mcp").0, "https://•••@a.example/mcp");
        assert_eq!(url("https://a.example/s/aB3dE5fG7hI9jK1lM3nO5pQ7/mcp").0, "https://a.example/s/•••/mcp");
    }

    #[test]
    fn only_what_is_known_and_plain_stands_in_git() {
        assert!(is_harmless("LOG_LEVEL", "debug") && is_harmless("PATH", "/opt/node/bin:/usr/bin"));
        for (name, value) in [("GITHUB_TOKEN", "x"), ("MY_SETTING", "1"), ("LOG_LEVEL", "a b"), ("DEBUG", "ghp_0123456789abcdef")] {
            assert!(!is_harmless(name, value), "{name}");
        }
        assert!(
            names_secret("SLACK_BOT_TOKEN")
                && names_secret("--accessToken")
                && !names_secret("--tokenizer")
                && !names_secret("monkey")
        );
    }
}
