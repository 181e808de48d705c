-- What a dispatch process says of itself beside the halts that it acts on.
ALTER TABLE sender_confirmations
    ADD COLUMN halted_here TEXT,                   -- why its host's own halt file keeps it from sending (C-OUT-7)
    ADD COLUMN safe        TEXT;                   -- since when and why the broker refuses it (F57)
