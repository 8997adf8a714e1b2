"""
Runnable examples, one idea each: `uvicorn examples.orders_api:app` serves one.
"""
