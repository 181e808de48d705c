mod dispatch;
mod embedded;
mod judge;
mod line;
mod paper;
mod stack;
mod topics;
