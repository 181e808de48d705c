-- The role that reads what dashboards read, and nothing else: dashboards log in as members of it, and
-- `noctus policy what-if` works under it.
-- Roles are the cluster's, not the database's: another database may have made it, or be making it right now.

-- Makes the role and gives it what it lacks: SELECT on every obs_* table and view. A month's partition needs no right
-- of its own, being read through its table. Returns the SQL that the caller may not run, for who may; NULL if nothing
-- is lacking. Harmless to repeat; `noctus migrate` does so every time, so that tables of later migrations are readable.
CREATE FUNCTION obs_grant_reader() RETURNS TEXT
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    -- To act as a role, one must be a member that may SET ROLE; before Postgres 16 every member may.
    acts   CONSTANT TEXT := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
    lacks  TEXT[] := '{}';
    wanted TEXT;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'noctus_reader') THEN
        BEGIN
            CREATE ROLE noctus_reader NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RETURN format('CREATE ROLE noctus_reader NOLOGIN; GRANT noctus_reader TO %I;', current_user);
        END;
    END IF;
    IF NOT pg_has_role(current_user, 'noctus_reader', acts) THEN
        wanted := format('GRANT noctus_reader TO %I;', current_user);
        BEGIN
            EXECUTE wanted;
        EXCEPTION
            WHEN insufficient_privilege THEN lacks := lacks || wanted;
        END;
    END IF;
    FOR wanted IN
        SELECT format('GRANT USAGE ON SCHEMA %I TO noctus_reader;', current_schema())
         WHERE NOT has_schema_privilege('noctus_reader', current_schema(), 'USAGE')
        UNION ALL
        SELECT format('GRANT SELECT ON %s TO noctus_reader;', c.oid::regclass) FROM pg_class c
         WHERE c.relnamespace = current_schema()::regnamespace AND c.relname LIKE 'obs\_%'
           AND c.relkind IN ('r','p','v','m') AND NOT c.relispartition
           AND NOT has_table_privilege('noctus_reader', c.oid, 'SELECT')
    LOOP
        -- Only what is lacking: granting again would collide with a month that is being attached.
        BEGIN
            EXECUTE wanted;
        EXCEPTION
            WHEN insufficient_privilege THEN lacks := lacks || wanted;
        END;
    END LOOP;
    RETURN nullif(array_to_string(lacks, ' '), '');
END
$$;

COMMENT ON FUNCTION obs_grant_reader() IS 'Makes role noctus_reader and lets it read the obs_* tables and views, and only them; returns the SQL that somebody with more rights has to run, or null.';

SELECT obs_grant_reader();
