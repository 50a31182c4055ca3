use super::Id;

/// The id of a session has one spelling.
pub(crate) fn id(text: &str) {
    if let Some(id) = Id::parse(text) {
        assert_eq!(id.text(), text, "the id of a session has one spelling");
    }
}
