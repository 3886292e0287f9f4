//! Work that is done whole or not begun, whoever waits for it.

use tenon_contract::Fault;

/// Runs `work` in a task of its own: a caller who goes away does not cut it in half.
pub(crate) async fn to_its_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) => Err(Fault::internal(format!("work broke: {error}"))),
    }
}
