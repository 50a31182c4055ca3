//! Operations of plugins, called in process: by the command line, by administrators, by an embedder.
use super::{Answer, Call, Kernel, Origin, View, absorb};
use countersign_plugin_api::{Problem, Refusal, Request};
use serde_json::Value;

impl Kernel {
    /// Whether a plugin has registered `<plugin>.<name>`.
    pub fn has_operation(&self, operation: &str) -> bool {
        self.registry.operations.contains_key(operation)
    }

    /// Asks the plugin of the gate for its operation `name`; `None` when no plugin gates logins, or that one
    /// has no such operation.
    pub(crate) fn gate_operation(
        &self,
        call: &Call<'_>,
        name: &str,
        input: &Value,
    ) -> Result<Option<Result<Value, Refusal>>, Refusal> {
        let operation = self.registry.gate.as_ref().map(|gate| format!("{}.{name}", gate.plugin));
        match operation.filter(|operation| self.has_operation(operation)) {
            Some(operation) => self.operate(call, &operation, input).map(Some),
            None => Ok(None),
        }
    }

    /// Tells the gate's plugin what has happened, if it wants to know.
    pub(crate) fn tell_gate(&self, call: &Call<'_>, name: &str, input: &Value) -> Result<(), Refusal> {
        self.gate_operation(call, name, input).map(|_| ())
    }

    /// Calls `<plugin>.<name>` with a JSON object, and answers what it answers when that is durable. It has the
    /// atomicity and the budgets of a request over HTTP. Whether the caller may is for the caller to know.
    pub async fn call(&self, origin: &Origin, operation: &str, input: &Value) -> Result<Value, Refusal> {
        self.run(origin, |call| self.operate(call, operation, input)).await?
    }

    /// The same as a part of a call. A refusal inside is an answer, and what was decided with it is kept: how a
    /// wrong guess is counted.
    pub(crate) fn operate(
        &self,
        call: &Call<'_>,
        operation: &str,
        input: &Value,
    ) -> Result<Result<Value, Refusal>, Refusal> {
        let unknown = || {
            Refusal::new(Problem::NotFound).because(format_args!("no plugin has the operation {operation}"))
        };
        let entry = self.registry.operations.get(operation).ok_or_else(unknown)?;
        let fault =
            |why: &str| Refusal::new(Problem::PluginFault).because(format_args!("{operation}: {why}"));
        let body = serde_json::to_vec(input).map_err(|_| fault("the input is not JSON"))?;
        let request = Request::new("CALL", operation, &body);
        let decision = entry.handler.handle(&request, &View { call, plugin: &entry.plugin })?;
        let answered = absorb(call, &entry.plugin, &decision)?;
        if answered.granted.is_some() || answered.sign_in.is_some() {
            return Err(fault("an operation cannot sign in"));
        }
        match answered.answer {
            Answer::Json { body, .. } => {
                serde_json::from_slice(&body).map(Ok).map_err(|_| fault("its answer is not JSON"))
            }
            Answer::Empty => Ok(Ok(Value::Null)),
            Answer::Refusal(refusal) => Ok(Err(refusal)),
            Answer::Page { .. } | Answer::Verdict(_) => Err(fault("it answers what no operation can")),
        }
    }
}
