"""obs, var, obsm, varm, obsp, varp and uns: to Arrow and back, and of several inputs as one."""
