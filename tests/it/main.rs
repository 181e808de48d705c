mod dispatch;
mod embedded;
mod judge;
mod paper;
mod policy;
