//! What a method is for: which execute, which list, which belong to the life of a connection, and in which era each exists. Never says
//! who may call it.

use super::era::Era;
use super::fault::WireFault;
use super::message::Message;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodKind {
    ToolCall,
    ResourceRead,
    PromptGet,
    Complete,
    TaskGet,
    TaskResult,
    TaskUpdate,
    TaskList,
    TaskCancel,
    /// `notifications/cancelled`.
    Cancelled,
    ToolsList,
    PromptsList,
    ResourcesList,
    TemplatesList,
    Initialize,
    /// `notifications/initialized`.
    Initialized,
    Discover,
    Ping,
    SetLevel,
    Subscribe,
    Unsubscribe,
    Listen,
    /// `notifications/roots/list_changed`.
    RootsChanged,
    /// Any other `notifications/…`.
    Notification,
    Unknown,
}

/// Sorts a method by its exact name.
pub fn kind_of(method: &str) -> MethodKind {
    match method {
        "tools/call" => MethodKind::ToolCall,
        "resources/read" => MethodKind::ResourceRead,
        "prompts/get" => MethodKind::PromptGet,
        "completion/complete" => MethodKind::Complete,
        "tasks/get" => MethodKind::TaskGet,
        "tasks/result" => MethodKind::TaskResult,
        "tasks/update" => MethodKind::TaskUpdate,
        "tasks/list" => MethodKind::TaskList,
        "tasks/cancel" => MethodKind::TaskCancel,
        "notifications/cancelled" => MethodKind::Cancelled,
        "tools/list" => MethodKind::ToolsList,
        "prompts/list" => MethodKind::PromptsList,
        "resources/list" => MethodKind::ResourcesList,
        "resources/templates/list" => MethodKind::TemplatesList,
        "initialize" => MethodKind::Initialize,
        "notifications/initialized" => MethodKind::Initialized,
        "server/discover" => MethodKind::Discover,
        "ping" => MethodKind::Ping,
        "logging/setLevel" => MethodKind::SetLevel,
        "resources/subscribe" => MethodKind::Subscribe,
        "resources/unsubscribe" => MethodKind::Unsubscribe,
        "subscriptions/listen" => MethodKind::Listen,
        "notifications/roots/list_changed" => MethodKind::RootsChanged,
        other if other.starts_with("notifications/") => MethodKind::Notification,
        _ => MethodKind::Unknown,
    }
}

/// The kind of a client's message, refused with 404 and -32601 where its method does not exist in its era. A response has no method:
/// none.
pub fn served(message: &Message, era: Era) -> Result<Option<MethodKind>, WireFault> {
    let Some(method) = message.method() else { return Ok(None) };
    let kind = kind_of(method);
    if kind.exists_in(era) { Ok(Some(kind)) } else { Err(WireFault::unknown_method().with_id(message.id_raw())) }
}

impl MethodKind {
    /// True where a server acts or hands out content: what a kill stops.
    pub fn executes(self) -> bool {
        matches!(
            self,
            Self::ToolCall
                | Self::ResourceRead
                | Self::PromptGet
                | Self::Complete
                | Self::TaskGet
                | Self::TaskResult
                | Self::TaskUpdate
                | Self::TaskList
        )
    }

    pub fn is_task(self) -> bool {
        matches!(self, Self::TaskGet | Self::TaskResult | Self::TaskUpdate | Self::TaskList | Self::TaskCancel)
    }

    pub fn is_list(self) -> bool {
        matches!(self, Self::ToolsList | Self::PromptsList | Self::ResourcesList | Self::TemplatesList | Self::TaskList)
    }

    pub fn is_lifecycle(self) -> bool {
        matches!(self, Self::Initialize | Self::Initialized | Self::Discover | Self::Ping)
    }

    pub fn is_cancel(self) -> bool {
        matches!(self, Self::Cancelled | Self::TaskCancel)
    }

    /// True where the method is one without answer.
    pub fn is_notification(self) -> bool {
        matches!(self, Self::Cancelled | Self::Initialized | Self::RootsChanged | Self::Notification)
    }

    /// Whether the revision knows the method (2026-07-28, changelog: removed methods). Unknown methods exist in none.
    pub fn exists_in(self, era: Era) -> bool {
        match self {
            Self::Unknown => false,
            Self::Initialize
            | Self::Initialized
            | Self::Ping
            | Self::SetLevel
            | Self::Subscribe
            | Self::Unsubscribe
            | Self::RootsChanged
            | Self::TaskList
            | Self::TaskResult => !era.is_modern(),
            Self::Discover | Self::Listen | Self::TaskUpdate => era.is_modern(),
            _ => true,
        }
    }
}
