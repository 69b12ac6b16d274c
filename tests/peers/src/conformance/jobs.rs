//! Tools that become tasks for a client that knows them. Never makes a task for one that does not.

use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities, CreateTaskResult};
use rmcp::task_manager::{TaskContext, TaskExit, TaskFuture, TaskManager, TaskOptions};
use serde_json::json;

use super::catalog::read;
use super::rounds;
use super::tools::{argument, result, text};

/// Answers the tools that may become tasks; `None` for every other tool.
pub async fn call(
    tasks: &TaskManager,
    request: &CallToolRequestParams,
    can: &ClientCapabilities,
) -> Option<Result<CallToolResponse, ErrorData>> {
    let seconds = request.arguments.as_ref().and_then(|arguments| arguments.get("seconds")?.as_f64()).unwrap_or(0.0);
    let pause = Duration::from_secs_f64(seconds.clamp(0.0, 120.0));
    let name = request.name.as_ref();
    if !["slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input", "test_tool_with_task"]
        .contains(&name)
    {
        return None;
    }
    if name == "slow_compute" && (pause.is_zero() || !can.supports_tasks()) {
        tokio::time::sleep(pause).await;
        return Some(Ok(text("Computed.")));
    }
    if !can.supports_tasks() {
        let needed = ClientCapabilities::builder().enable_tasks().build();
        return Some(Err(ErrorData::missing_required_client_capability(needed)));
    }
    let options = TaskOptions::new().with_ttl_ms(300_000).with_poll_interval_ms(100);
    let task = match name {
        "slow_compute" => tasks.spawn(options, |context| compute(context, pause)),
        "failing_job" => tasks.spawn(options, |_| failing()),
        "protocol_error_job" => tasks.spawn(options, |_| broken()),
        "confirm_delete" => {
            let file = argument(request, "filename").to_owned();
            tasks.spawn(options, |context| confirm(context, file))
        }
        "multi_input" => tasks.spawn(options, two_questions),
        _ => {
            let Some(name) = rounds::accepted(request.input_responses.as_ref(), "user_name", "name") else {
                let question = rounds::question("What is your name?", "name", "string");
                return Some(Ok(rounds::required(&[("user_name", question)], Some("asked-once".to_owned())).into()));
            };
            tasks.spawn(options, |_| Box::pin(async move { Ok(said(&format!("Hello, {name}!"))) }))
        }
    };
    Some(Ok(CreateTaskResult::new(task).into()))
}

fn said(text: &str) -> CallToolResult {
    result(json!([{"type": "text", "text": text}]), false)
}

fn compute(context: TaskContext, pause: Duration) -> TaskFuture {
    Box::pin(async move {
        tokio::select! {
            () = context.cancelled() => Err(TaskExit::Cancelled),
            () = tokio::time::sleep(pause) => Ok(said("Computed.")),
        }
    })
}

fn failing() -> TaskFuture {
    Box::pin(async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(result(json!([{"type": "text", "text": "The job failed."}]), true))
    })
}

fn broken() -> TaskFuture {
    Box::pin(async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Err(ErrorData::internal_error("the job broke", None).into())
    })
}

fn confirm(context: TaskContext, file: String) -> TaskFuture {
    Box::pin(async move {
        let question = read(rounds::question(&format!("Delete {file}?"), "confirm", "boolean"));
        let answer = context.request_input("confirm", question).await?;
        let verb = if answer["content"]["confirm"] == true { "Deleted" } else { "Kept" };
        Ok(said(&format!("{verb} {file}.")))
    })
}

fn two_questions(context: TaskContext) -> TaskFuture {
    Box::pin(async move {
        let name = context.request_input("name", read(rounds::question("What is your name?", "name", "string")));
        let sure = context.request_input("sure", read(rounds::question("Are you sure?", "confirm", "boolean")));
        let (name, sure) = tokio::try_join!(name, sure)?;
        Ok(said(&format!("{} {}", name["content"], sure["content"])))
    })
}
