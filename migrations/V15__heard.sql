-- How far each lane's holder has acted on what the broker tells by itself. A broker that answers no questions tells a thing
-- once: whoever takes a lane with open orders hears again what came after this.
ALTER TABLE dispatch_lanes ADD COLUMN heard BIGINT;    -- the broker's number; null: nobody has listened yet
