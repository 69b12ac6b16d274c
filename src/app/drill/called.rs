//! One call of one server: which tool, with which arguments, and what its answer shows. Never calls a tool of a real server that may change
//! something, and never with arguments that were made up.

use serde_json::{Value, json};

use super::arguments::smallest;
use super::checks::{Bench, want};
use super::client::Answer;
use crate::admin::drills::order::{Fate, Network, SUBSTITUTED};
use crate::base::fault::Verb;
use crate::config::Class;

/// What is called.
struct Choice {
    tool: String,
    arguments: Value,
    /// Whether the tool takes these arguments.
    fits: bool,
}

impl Bench {
    /// Calls a tool of a server, best one that wants no arguments.
    ///
    /// # Errors
    /// When it was not permitted, or not answered as it should be.
    pub(super) async fn called(&self, fate: &Fate, shown: &[Value]) -> Verb<(String, String)> {
        let server = fate.name.as_str();
        let snapshot = self.admin.feed.snapshot();
        let class = |tool: &Value| snapshot.servers.get(server)?.config.tools.get(tool["name"].as_str()?).map(|tool| tool.class);
        let reads: Vec<&Value> = shown.iter().filter(|tool| class(tool) == Some(Class::Read)).collect();
        let choice = if fate.state == SUBSTITUTED { of_stand_in(&reads, shown) } else { of_server(&reads) };
        let Some(Choice { tool, arguments, fits }) = choice else {
            return Ok(("its tools are as they were; it has no read tool to call".to_owned(), "no read tool to call".to_owned()));
        };
        let answer = self.client(server, Some(&self.full)).await?.call_with(&tool, arguments).await?;
        let failed = answer.body["result"]["isError"] == true;
        if fits && !fate.replaced.is_empty() && said_no(&answer) {
            let detail = format!("{tool} was permitted and reached it; it answered with an error, having no real credentials here");
            return Ok((detail.clone(), detail));
        }
        // A tool that wants arguments says so itself: it was reached.
        want(answer.body.get("result").is_some() && !(fits && failed), || {
            let alone =
                if failed && self.network == Network::Own { ", an error of its own; a drill reaches no network" } else { "" };
            format!("{server}/{tool} was answered {}{alone}", answer.brief())
        })?;
        let detail = format!("{tool} was permitted and answered");
        Ok((detail.clone(), detail))
    }
}

/// Whether the server itself answered with an error: one of the proxy has a reason.
fn said_no(answer: &Answer) -> bool {
    answer.body["result"]["isError"] == true || (answer.body["error"].is_object() && answer.reason().is_empty())
}

fn is_free(tool: &Value) -> bool {
    tool["inputSchema"]["required"].as_array().is_none_or(Vec::is_empty)
}

fn plain(tool: &Value) -> Choice {
    Choice { tool: tool["name"].as_str().unwrap_or_default().to_owned(), arguments: json!({}), fits: is_free(tool) }
}

/// A read tool, best one that wants no arguments: its call changes nothing.
fn of_server(reads: &[&Value]) -> Option<Choice> {
    reads.iter().find(|tool| is_free(tool)).or_else(|| reads.first()).map(|tool| plain(tool))
}

/// Any tool, best a reading one: a stand-in does nothing, so arguments can be made up.
fn of_stand_in(reads: &[&Value], shown: &[Value]) -> Option<Choice> {
    let fitting = |tool: &Value| {
        let arguments = smallest(&tool["inputSchema"])?;
        Some(Choice { arguments, fits: true, ..plain(tool) })
    };
    let all: Vec<&Value> = shown.iter().collect();
    let easy = |tools: &[&Value]| {
        let free = tools.iter().find(|tool| is_free(tool)).map(|tool| plain(tool));
        free.or_else(|| tools.iter().find_map(|tool| fitting(tool)))
    };
    easy(reads).or_else(|| easy(&all)).or_else(|| of_server(reads)).or_else(|| of_server(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, schema: &Value) -> Value {
        json!({"name": name, "inputSchema": schema})
    }

    #[test]
    fn arguments_are_made_up_for_a_stand_in_only() {
        let read = tool("read", &json!({"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}}));
        let wipe = tool("wipe", &json!({"type": "object"}));
        let hard = tool("hard", &json!({"type": "object", "required": ["q"], "properties": {"q": {"pattern": "a"}}}));
        let real = of_server(&[&read]).unwrap();
        assert_eq!((real.tool.as_str(), real.arguments, real.fits), ("read", json!({}), false));
        assert!(of_server(&[]).is_none(), "nothing that may change something is called");
        let shown = [wipe.clone(), read.clone()];
        let made = of_stand_in(&[&read], &shown).unwrap();
        assert_eq!((made.tool.as_str(), made.arguments, made.fits), ("read", json!({"q": ""}), true));
        let shown = [hard.clone(), wipe];
        assert_eq!(of_stand_in(&[&hard], &shown).unwrap().tool, "wipe", "a stand-in wipes nothing");
        let shown = [hard.clone()];
        let last = of_stand_in(&[&hard], &shown).unwrap();
        assert_eq!((last.tool.as_str(), last.fits), ("hard", false));
        assert!(of_stand_in(&[], &[]).is_none());
    }
}
