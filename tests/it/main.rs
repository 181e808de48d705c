mod dispatch;
mod embedded;
mod paper;
