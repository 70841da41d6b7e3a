//! Work of its own.

use tokio::task::JoinHandle;

use futures_util::FutureExt as _;

/// As tokio's, which compiles a future's code several times over: once for each kind of runtime, and for futures of each
/// size. What is boxed is compiled once, and these are the largest that there are.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future.boxed())
}
