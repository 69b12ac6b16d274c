//! A Chromium of its own for each test, over WebDriver. Collects what the console said; leaves pictures in `target/ui-artifacts`.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use fantoccini::wd::{Capabilities, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::harness::{target, wait};
use crate::rig::{Running, free_port, node_dir};

/// A session in a browser.
pub struct Browser {
    pub client: Client,
    base: String,
    actions: AtomicUsize,
    _driver: Driver,
}

/// chromedriver and the browser that it started, which would outlive it.
struct Driver(Running);

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.0.id())]).status();
    }
}

/// A command of chromedriver that the WebDriver standard lacks.
#[derive(Debug)]
struct Vendor {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Vendor {
    fn endpoint(&self, base_url: &url::Url, session_id: Option<&str>) -> Result<url::Url, url::ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Opens one for the dashboard at `authority`.
    pub async fn open(authority: &str) -> Self {
        let port = free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("chromedriver: tests/run installs it");
        let driver = Driver(Running(driver));
        wait("chromedriver", 20, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let mut wanted = Capabilities::new();
        wanted.insert("acceptInsecureCerts".into(), json!(true));
        wanted.insert("goog:loggingPrefs".into(), json!({"browser": "ALL"}));
        let args = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"];
        wanted.insert("goog:chromeOptions".into(), json!({"args": args}));
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(wanted)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("a browser session");
        Self { client, base: format!("https://{authority}"), actions: AtomicUsize::new(0), _driver: driver }
    }

    /// One command of the developer tools.
    pub async fn devtools(&self, command: &str, params: Value) {
        let body = json!({"cmd": command, "params": params});
        self.client.issue_cmd(Vendor { path: "goog/cdp/execute", body }).await.unwrap();
    }

    /// Width in CSS pixels, and light or dark.
    pub async fn show_as(&self, width: u32, scheme: &str) {
        let size = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 640});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        self.devtools("Emulation.setEmulatedMedia", json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]})).await;
    }

    /// Makes the window as high as the page that it shows, for a picture of all of it.
    pub async fn show_whole(&self, width: u32) {
        let height = self.client.execute("return document.documentElement.scrollHeight", vec![]).await.unwrap();
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 640});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
    }

    /// Goes to a path; counts as one action.
    pub async fn goto(&self, path: &str) {
        self.actions.fetch_add(1, Ordering::Relaxed);
        self.client.goto(&format!("{}{path}", self.base)).await.unwrap();
    }

    /// Clicks what the selector finds; one action.
    pub async fn click(&self, selector: &str) {
        self.actions.fetch_add(1, Ordering::Relaxed);
        let found = self.find(selector).await;
        found.click().await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into a field; one action.
    pub async fn fill(&self, selector: &str, text: &str) {
        self.actions.fetch_add(1, Ordering::Relaxed);
        let found = self.find(selector).await;
        found.send_keys(text).await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Waits up to 10 s for an element.
    pub async fn find(&self, selector: &str) -> fantoccini::elements::Element {
        self.find_within(selector, 10).await
    }

    /// Waits for an element of a page that renews itself until it is there.
    pub async fn find_within(&self, selector: &str, seconds: u64) -> fantoccini::elements::Element {
        let waiting = self.client.wait().at_most(std::time::Duration::from_secs(seconds)).for_element(Locator::Css(selector));
        match waiting.await {
            Ok(found) => found,
            Err(error) => {
                self.picture("failure").await;
                panic!("{selector}: {error} on {}", self.client.current_url().await.unwrap())
            }
        }
    }

    /// How many actions a person would have taken so far.
    pub fn actions(&self) -> usize {
        self.actions.load(Ordering::Relaxed)
    }

    /// Keeps a picture of what the window shows.
    pub async fn picture(&self, name: &str) -> PathBuf {
        let folder = target().join("ui-artifacts");
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("{name}.png"));
        std::fs::write(&file, self.client.screenshot().await.unwrap()).unwrap();
        file
    }

    /// What the console said since the last look: warnings and errors, policy violations among them.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.client.issue_cmd(Vendor { path: "se/log", body: json!({"type": "browser"}) }).await.unwrap();
        let entries = log.as_array().cloned().unwrap_or_default();
        let loud = entries.iter().filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        loud.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What axe-core finds wrong, one line each.
    pub async fn axe(&self) -> Vec<String> {
        let axe = std::fs::read_to_string(node_dir().join("node_modules/axe-core/axe.min.js")).unwrap();
        self.client.execute(&format!("{axe};"), vec![]).await.unwrap();
        let script = "const done = arguments[arguments.length - 1]; axe.run(document, {runOnly: ['wcag2a','wcag2aa','wcag21a','wcag21aa','wcag22aa','best-practice']}).then(r => done(r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.target.join(' ')).join(', '))));";
        let found = self.client.execute_async(script, vec![]).await.unwrap();
        found.as_array().unwrap().iter().filter_map(Value::as_str).map(str::to_owned).collect()
    }
}
