-- The task system's database. What its CHECK and FOREIGN KEY constraints would refuse is told all the
-- same, as after a restored dump or a bulk load with the triggers off: finding that is the quality
-- rules' work. So the constraints are not declared here; types, keys, defaults and NOT NULL are.

create schema users;
create schema tasks;
create schema auth;
create schema audit;

create table users.users (
    id              uuid primary key default gen_random_uuid(),
    email           varchar(255) unique not null,
    email_verified  boolean default false,
    password_hash   varchar(255) not null,
    status          varchar(50) default 'active',
    created_at      timestamptz default current_timestamp,
    updated_at      timestamptz default current_timestamp
);

create table users.user_profiles (
    user_id     uuid primary key,
    first_name  varchar(100),
    last_name   varchar(100),
    avatar_url  text,
    bio         text,
    location    varchar(255),
    timezone    varchar(50) default 'UTC',
    language    varchar(10) default 'en',
    created_at  timestamptz default current_timestamp,
    updated_at  timestamptz default current_timestamp
);

create table tasks.projects (
    id           uuid primary key default gen_random_uuid(),
    name         varchar(255) not null,
    description  text,
    status       varchar(50) default 'active',
    owner_id     uuid not null,
    created_at   timestamptz default current_timestamp,
    updated_at   timestamptz default current_timestamp
);

create table tasks.tasks (
    id            uuid primary key default gen_random_uuid(),
    title         varchar(500) not null,
    description   text,
    status        varchar(50) default 'todo',
    priority      varchar(50) default 'medium',
    due_date      timestamptz,
    created_by    uuid not null,
    assigned_to   uuid,
    project_id    uuid,
    tags          text[] default '{}',
    created_at    timestamptz default current_timestamp,
    updated_at    timestamptz default current_timestamp,
    completed_at  timestamptz
);
create index on tasks.tasks (project_id, status);

create table auth.sessions (
    id                  uuid primary key default gen_random_uuid(),
    user_id             uuid not null,
    token_hash          varchar(255) unique not null,
    refresh_token_hash  varchar(255) unique not null,
    expires_at          timestamptz not null,
    ip_address          inet,
    user_agent          text,
    created_at          timestamptz default current_timestamp,
    last_accessed_at    timestamptz default current_timestamp
);
create index on auth.sessions (user_id);

create table auth.password_resets (
    id          uuid primary key default gen_random_uuid(),
    user_id     uuid not null,
    token_hash  varchar(255) not null,
    expires_at  timestamptz not null,
    used        boolean not null default false,
    created_at  timestamptz not null default current_timestamp
);

create table audit.activity_log (
    id           uuid primary key default gen_random_uuid(),
    entity_type  varchar(50) not null,
    entity_id    uuid not null,
    action       varchar(50) not null,
    actor_id     uuid,
    metadata     jsonb,
    created_at   timestamptz not null default current_timestamp
);

-- One table streams whole rows in `before`; the others only the key.
alter table tasks.projects replica identity full;

-- Uncompressed, a description over 2 kB always lies out of line: an update that leaves it alone then
-- streams the placeholder of an unavailable value instead of it.
alter table tasks.tasks alter column description set storage external;
