//! (being written)
pub async fn run(
    _: crate::runtime::context::Context,
    stop: tokio_util::sync::CancellationToken,
) -> Result<(), std::fmt::Error> {
    stop.cancelled().await;
    Ok(())
}
