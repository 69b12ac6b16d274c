//! docs/CONFIG.md is made from the types of the configuration: `LIFEBOAT_WRITE_DOCS=1` writes it, and otherwise a difference is a failure.

use std::fmt::Write;
use std::fs;

use lifeboat::config::alerts::Alerting;
use lifeboat::config::credentials::Credentials;
use lifeboat::config::policy_tests::PolicyTests;
use lifeboat::config::schedules::Schedules;
use lifeboat::config::{ClientConfig, RoleConfig, ServerConfig, Settings, VaultConfig};
use schemars::{JsonSchema, schema_for};
use serde_json::{Map, Value};

use super::source::top;

const HEAD: &str = "# Configuration
Made from the types that read these files; a test keeps it so. Everything lies in the git repository `config/` of the data directory, in TOML. Only HEAD counts: edit, `lifeboat config check`, then `lifeboat config commit --as NAME -m \"why\"`.
A key that is not listed here is refused. No file here ever holds a secret. Sizes are written `\"1 MiB\"` (B, KiB, MiB, GiB).
";

struct Page {
    text: String,
    definitions: Map<String, Value>,
}

#[test]
fn the_reference_of_the_configuration_is_current() {
    let mut page = Page { text: HEAD.to_owned(), definitions: Map::new() };
    page.file::<Settings>("lifeboat.toml", "");
    page.file::<ServerConfig>(
        "servers/NAME.toml",
        "[upstream.http]\nurl = \"https://tools.example.com/mcp\"\n\n[tools.search]\nclass = \"read\"\n",
    );
    page.file::<ClientConfig>("clients/NAME.toml", "roles = [\"reader\"]\nrate = 20\n");
    page.file::<RoleConfig>("roles/NAME.toml", "[[grant]]\ntools = [\"demo/*\"]\nclasses = [\"read\", \"write\"]\n");
    page.file::<Schedules>("schedules.toml", "");
    page.file::<Alerting>(
        "alerts.toml",
        "[[receiver]]\nname = \"pager\"\nurl = \"https://alerts.example.com/hook\"\nrules = [\"backup.*\", \"drill.*\"]\n",
    );
    page.file::<Credentials>(
        "credentials.toml",
        "[[credential]]\nname = \"client-key/*\"\nowner = \"Platform team\"\nrotate_every_days = 90\noverlap = \"24h\"\nholder = \"the teams that run the clients\"\n\n\
         [[postgres]]\nname = \"notes\"\nhost = \"db.example.com\"\ndatabase = \"notes\"\nca = \"/etc/ssl/db-ca.pem\"\nadmin = \"lifeboat\"\n\
         owner = \"notes\"\nroles = [\"notes_a\", \"notes_b\"]\ncheck = \"SELECT id FROM note LIMIT 1\"\nserver = \"notes\"\n\
         [postgres.variables]\nDATABASE_URL = \"postgresql://{role}:{password}@db.example.com/notes?sslmode=verify-full\"\n\n\
         [[http]]\nname = \"search\"\nserver = \"search\"\nsecret = \"authorization\"\nvalue = \"Bearer {secret}\"\nheaders = { authorization = \"Bearer {admin}\" }\n\
         [http.create]\nmethod = \"POST\"\nurl = \"https://api.example.com/tokens\"\nbody = '{\"name\": \"{label}\"}'\nid = \"/id\"\ntoken = \"/token\"\n\
         [http.revoke]\nmethod = \"DELETE\"\nurl = \"https://api.example.com/tokens/{id}\"\n",
    );
    page.file::<VaultConfig>(
        "vaults/NAME.toml",
        "path = \"/var/lib/notes\"\nserver = \"notes\"\nexclude = [\"cache\"]\n\n# or\n\
         command = [\"/usr/bin/pg_dump\", \"-Fc\", \"notes\"]\nsecret_env = [\"PGPASSWORD\"]\nenv = { PGHOST = \"db\" }\n",
    );
    page.file::<PolicyTests>(
        "policy-tests/NAME.toml",
        "[[case]]\nclient = \"ci\"\ntool = \"demo/wipe\"\nexpect = \"refuse\"\nreason = \"policy.class\"\n",
    );
    let path = top().join("docs/CONFIG.md");
    if std::env::var_os("LIFEBOAT_WRITE_DOCS").is_some() {
        fs::write(&path, &page.text).expect("docs/CONFIG.md is written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page.text,
        "docs/CONFIG.md is not what the types say; run this test with LIFEBOAT_WRITE_DOCS=1 and commit it"
    );
}

impl Page {
    fn file<T: JsonSchema>(&mut self, name: &str, example: &str) {
        let schema = schema_for!(T).to_value();
        self.definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
        writeln!(self.text, "\n## {name}\n{}", first_paragraph(&schema)).expect("text");
        if !example.is_empty() {
            writeln!(self.text, "\n```toml\n{example}```").expect("text");
        }
        self.table("", &schema);
    }

    /// The keys of one table, then the tables below it.
    fn table(&mut self, name: &str, schema: &Value) {
        let schema = self.resolved(schema);
        let mut below = Vec::new();
        let mut rows = Vec::new();
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            match self.nested(name, key, property) {
                Some(tables) => below.extend(tables),
                None => rows.push(self.row(key, property, &schema)),
            }
        }
        if !rows.is_empty() {
            if !name.is_empty() {
                writeln!(self.text, "\n### `{name}`\n{}", first_paragraph(&schema)).expect("text");
            }
            writeln!(self.text, "\n| key | value | default | means |\n|---|---|---|---|\n{}", rows.join("\n")).expect("text");
        }
        for (name, schema) in below {
            self.table(&name, &schema);
        }
    }

    fn row(&self, key: &str, property: &Value, table: &Value) -> String {
        let required = table["required"].as_array().is_some_and(|names| names.iter().any(|name| name == key));
        let default = match &property["default"] {
            _ if required => "needed".to_owned(),
            Value::Null => "none".to_owned(),
            value => format!("`{value}`"),
        };
        format!("| `{key}` | {} | {default} | {} |", self.kind(property), words(&property["description"]))
    }

    /// The tables that a key holds, when it holds any.
    fn nested(&self, name: &str, key: &str, property: &Value) -> Option<Vec<(String, Value)>> {
        let inner = |key: &str| match name.trim_matches(['[', ']']) {
            "" => key.to_owned(),
            outer => format!("{outer}.{key}"),
        };
        let found = self.resolved(property);
        if found["properties"].is_object() {
            return Some(vec![(format!("[{}]", inner(key)), found)]);
        }
        let items = self.resolved(&property["items"]);
        if items["properties"].is_object() {
            return Some(vec![(format!("[[{}]]", inner(key)), items)]);
        }
        let values = self.resolved(&property["additionalProperties"]);
        if values["properties"].is_object() {
            return Some(vec![(format!("[{}.NAME]", inner(key)), values)]);
        }
        let choices = found["oneOf"].as_array()?;
        let tables: Vec<(String, Value)> = choices
            .iter()
            .filter_map(|choice| choice["properties"].as_object()?.iter().next())
            .map(|(choice, schema)| (format!("[{}]", inner(&format!("{key}.{choice}"))), schema.clone()))
            .collect();
        (!tables.is_empty()).then_some(tables)
    }

    fn kind(&self, property: &Value) -> String {
        let found = self.resolved(property);
        let choices = found["oneOf"].as_array().or(found["anyOf"].as_array()).cloned().unwrap_or_default();
        let constants: Vec<String> =
            choices.iter().filter_map(|choice| choice["const"].as_str()).map(|word| format!("`\"{word}\"`")).collect();
        if !constants.is_empty() {
            return constants.join(" or ");
        }
        if let Some(words) = found["enum"].as_array() {
            return words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
        }
        if let Some(some) = choices.iter().find(|choice| choice["type"] != "null") {
            return self.kind(some);
        }
        if let Some(title) = found["title"].as_str() {
            return title.to_owned();
        }
        let plain = match &found["type"] {
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or_default().to_owned()
            }
            kind => kind.as_str().unwrap_or("value").to_owned(),
        };
        match plain.as_str() {
            "array" => format!("list of {}", self.kind(&found["items"])),
            "object" => format!("table of {}", self.kind(&found["additionalProperties"])),
            "integer" => "number".to_owned(),
            "boolean" => "`true` or `false`".to_owned(),
            "string" => "text".to_owned(),
            other => other.to_owned(),
        }
    }

    // A reference is what it refers to, under the description it has here.
    fn resolved(&self, schema: &Value) -> Value {
        let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) else { return schema.clone() };
        self.definitions.get(name).cloned().unwrap_or_default()
    }
}

fn first_paragraph(schema: &Value) -> String {
    words(&schema["description"])
}

fn words(text: &Value) -> String {
    text.as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
