

mod embedded;
